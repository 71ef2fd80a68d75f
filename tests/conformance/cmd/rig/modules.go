package main

// Modules of which build.sh takes files and tests, so that go.mod keeps their versions.
import (
	_ "istio.io/api/annotation"
	_ "sigs.k8s.io/gateway-api/conformance"
)
