"""Where a result came from, as its files carry it, and the page with which it is handed on."""
