"""The reading half of the disk seam: what the exporter wrote, checked before it is served."""
