module controlbox-check

go 1.22.0

require github.com/enbility/eebus-go v0.7.0 // indirect
