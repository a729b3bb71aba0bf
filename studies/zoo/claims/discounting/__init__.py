"""Claims about discounts."""
