"""What clearing does: `items` (facts become items), `plans`, `closing` and its steps (`statements`, `matching`,
`settlement`, `accounting`), `differences`, `reports`."""
