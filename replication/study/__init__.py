"""Many runs: a suite lays jobs out, tuning chooses among them, the queue runs each in a child process."""
