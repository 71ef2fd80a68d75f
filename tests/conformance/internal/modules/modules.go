// Package modules names those modules of which build.sh takes files and tests, so that go.mod keeps their versions. Nothing
// imports it: the suite defines flags for whoever links it.
package modules

import (
	_ "istio.io/api/annotation"
	_ "sigs.k8s.io/gateway-api/conformance"
)
