"""The yardstick: rows of results, and the page that shows them."""
