"""What a name may stand for besides a registered value: a function, a class or a file as it lies there."""
