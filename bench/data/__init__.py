"""From a name, a folder or an archive to decoded images, and from pixels to what a model sees."""
