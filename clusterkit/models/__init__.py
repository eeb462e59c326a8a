"""Networks in plain torch: heads, the Siamese model and its factored form, and the quick forward."""
