"""Live audio in, stamped face frames out: window schedule and engine, without clock, thread or ROS."""
