"""Drop experts that hardly any image chooses."""
