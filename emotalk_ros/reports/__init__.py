"""What people look at: HTML pages, charts, rendered faces, videos."""
