"""What customers get in their hands: slips and signs, as PDF and PNG, drawn without asking anybody outside."""
