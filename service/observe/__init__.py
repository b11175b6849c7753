"""Who is told of every image, outside of any protocol: metrics today."""
