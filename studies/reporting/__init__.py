"""Tables, figures and pages made from results; nothing is trained in here."""
