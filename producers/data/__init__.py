"""The bundled event streams (see the README beside each) and the script that made them."""
