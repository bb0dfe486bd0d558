package sys

import (
	"context"

	"coffer/engines"
)

// absentRoutes are those that clients ask to find out what a server can do, and what is not here: features
// of Vault's enterprise edition, and lists that are always empty.
func absentRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("license/status", "There is no licence.", engines.OnRead(enterpriseOnly)),
		engines.Path("namespaces", "There are no namespaces.", engines.OnList(enterpriseOnly)),
		engines.Path("replication/dr/status", "Nothing is replicated.", engines.Unauthenticated(),
			engines.OnRead(enterpriseOnly)),
		engines.Path("replication/performance/status", "Nothing is replicated.", engines.Unauthenticated(),
			engines.OnRead(enterpriseOnly)),
		engines.Path("policies/rgp", "There are no role governing policies.", engines.OnList(enterpriseOnly)),
		engines.Path("policies/egp", "There are no endpoint governing policies.", engines.OnList(enterpriseOnly)),
		engines.Path("policies/password", "There are no password policies.", engines.OnList(none)),
		engines.Path("quotas/rate-limit", "There are no quotas.", engines.OnList(none)),
	}
}

func enterpriseOnly(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFoundf("enterprise-only feature")
}

func none(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFound()
}
