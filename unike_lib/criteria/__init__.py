"""One module per criterion: `CRITERION` in it is how an answer is scored (`unike_lib.criterion`)."""
