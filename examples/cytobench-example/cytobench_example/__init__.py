"""A plugin for CytoBench. Its cards lie in the folders beside this file; they name the modules here."""
