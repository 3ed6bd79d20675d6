package jobaudit

type text struct{ value, dropped string }
