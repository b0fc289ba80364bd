from hundredfold.replication.command_line import main

if __name__ == "__main__":
    main()
