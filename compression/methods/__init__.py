"""The methods, a file each, by family. A file registers its method when it is imported; METHODS imports all of them."""
