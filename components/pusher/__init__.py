"""TFX Pusher that a model server never sees half done."""
