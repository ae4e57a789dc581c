"""Credit rules, one file each: step rewards of a group in, step advantages out."""
