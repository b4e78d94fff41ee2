"""What a download holds: the model, its card, and a program that scores raw rows by itself."""
