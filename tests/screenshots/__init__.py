"""Take the screenshots of the web page that the READMEs show."""
