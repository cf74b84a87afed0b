// SPDX-License-Identifier: Apache-2.0
// Names the programs that tests and README use, so that go.mod and go.sum pin them and all that they
// are made of. Never compiled: docker/deps.sh builds the commands themselves into build/tools.
// The versions are the newest that Debian 12's Go 1.19 compiles; Go 1.26 compiles them as well.

//go:build tools

package tools

import (
	_ "github.com/bojand/ghz/cmd/ghz"
	_ "github.com/bufbuild/buf/cmd/buf"
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
)
