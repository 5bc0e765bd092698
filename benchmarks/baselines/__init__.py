"""What Moorage is compared with where no installed program does: servers as one would write them by hand."""
