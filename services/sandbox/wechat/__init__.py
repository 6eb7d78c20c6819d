"""WeChat Pay API v3, played for direct merchants."""
