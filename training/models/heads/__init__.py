"""Detection heads, which turn feature maps into predictions."""
