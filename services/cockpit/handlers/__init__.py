"""HTTP: the page, its live stream, its static files. Draws what usecases say."""
