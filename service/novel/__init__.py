"""Keep images that are unlike the baseline in a folder, so that people can label them."""
