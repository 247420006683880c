package linux

import (
	_ "embed" // scripts
)

// The scripts, each a program for a POSIX shell whose data are shell variables.
// accountScript defines functions that the others call.
//
//go:embed account.sh
var accountScript string

//go:embed user_create.sh
var userCreateScript string

//go:embed user_adopt.sh
var userAdoptScript string

//go:embed user_update.sh
var userUpdateScript string

//go:embed user_delete.sh
var userDeleteScript string

//go:embed keys_locate.sh
var keysLocateScript string

//go:embed keys_read.sh
var keysReadScript string

//go:embed keys_write.sh
var keysWriteScript string

//go:embed check.sh
var checkScript string
