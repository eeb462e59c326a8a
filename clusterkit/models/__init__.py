"""Networks in plain torch: heads, the Siamese model and its factored form, the quick forward."""
