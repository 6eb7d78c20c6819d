"""Facts, figures and what the page says about them, without I/O, clock or chance."""
