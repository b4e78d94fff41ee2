"""Methods: what can be done to a model, by family; each with its card."""

from ui.methods.view import draw_methods_page

draw_methods_page()
