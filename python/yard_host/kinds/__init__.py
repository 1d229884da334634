"""What a worker does with its orders: one module per kind, each with `run(orders, send_result)`."""
