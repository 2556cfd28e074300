"""What a person types after `heimdall`: one module a command, imported when it is called."""
