"""What the records tell beside the claims: one fact a file, as the text or the table that the page prints."""
