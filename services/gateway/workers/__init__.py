"""What runs without being called: sweepers, pushes to the services below, the callback receiver, the ear at risk's feed."""
