"""The gate between new data and what the last accepted data looked like."""
