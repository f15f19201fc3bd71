// Package controlbox pins the version of the energy guard that the interop tests build.
package controlbox

import _ "github.com/enbility/eebus-go/api"
