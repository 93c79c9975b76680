"""Models, pictures, files and errors: what every engine needs; no engine is imported here."""
