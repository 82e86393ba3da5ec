"""Programs that prepare and measure a model; the serving process imports none of them."""
