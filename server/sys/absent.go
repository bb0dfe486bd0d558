package sys

import (
	"context"
	"maps"
	"slices"

	"coffer/engines"
)

// absentRoutes are those that clients ask to find out what a server can do, and what is not here: lists that are always
// empty, and features of Vault's enterprise edition.
func absentRoutes() []engines.Route {
	return append(enterpriseRoutes(),
		engines.Path("replication/dr/status", "Nothing is replicated.", engines.Unauthenticated(),
			engines.OnRead(enterpriseOnly)),
		engines.Path("replication/performance/status", "Nothing is replicated.", engines.Unauthenticated(),
			engines.OnRead(enterpriseOnly)),
		engines.Path("quotas/rate-limit", "There are no quotas.", engines.OnList(none)),
	)
}

func enterpriseOnly(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFoundf("enterprise-only feature")
}

func none(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFound()
}

// operations are those that the community edition of Vault 1.21.2 has on a path of the enterprise edition.
type operations int

const (
	opList operations = 1 << iota
	opRead
	opUpdate
	opPatch
	opDelete

	opRecord = opRead | opUpdate | opDelete
)

// enterprisePaths are the paths below sys/ to which Vault answers that they are of the enterprise edition.
// replication/*/status is not among them: clients ask it to find out what runs.
func enterprisePaths() map[string]operations {
	paths := map[string]operations{
		"config/control-group":                                  opRecord,
		"config/group-policy-application":                       opRead | opUpdate,
		"control-group/authorize":                               opUpdate,
		"control-group/request":                                 opUpdate,
		"license/status":                                        opRead,
		"managed-keys/{type}":                                   opList,
		"managed-keys/{type}/{name}":                            opRecord,
		"managed-keys/{type}/{name}/test/sign":                  opUpdate,
		"mfa/method":                                            opList,
		"mfa/method/totp/{name}/admin-destroy":                  opUpdate,
		"mfa/method/totp/{name}/admin-generate":                 opUpdate,
		"mfa/method/totp/{name}/generate":                       opRead,
		"namespaces":                                            opList,
		"namespaces/api-lock/lock":                              opUpdate,
		"namespaces/api-lock/lock/{path+}":                      opUpdate,
		"namespaces/api-lock/unlock":                            opUpdate,
		"namespaces/api-lock/unlock/{path+}":                    opUpdate,
		"namespaces/{path+}":                                    opRecord | opPatch,
		"policies/egp":                                          opList,
		"policies/egp/{name+}":                                  opRecord,
		"policies/rgp":                                          opList,
		"policies/rgp/{name+}":                                  opRecord,
		"quotas/lease-count":                                    opList,
		"quotas/lease-count/{name}":                             opRecord,
		"replication/dr/secondary/config/reload/{subsystem}":    opUpdate,
		"replication/dr/secondary/license/status":               opRead,
		"replication/dr/secondary/operation-token/delete":       opUpdate,
		"replication/dr/secondary/recover":                      opUpdate,
		"replication/dr/secondary/reindex":                      opUpdate,
		"replication/performance/primary/dynamic-filter/{id}":   opRead,
		"replication/performance/primary/paths-filter/{id}":     opRecord,
		"replication/performance/secondary/dynamic-filter/{id}": opRead,
		"replication/recover":                                   opUpdate,
		"replication/reindex":                                   opUpdate,
		"reporting/scan":                                        opUpdate,
		"sealwrap/rewrap":                                       opRead | opUpdate,
		"storage/raft/snapshot-auto/config/{name...}":           opList | opRecord,
		"storage/raft/snapshot-auto/status/{name}":              opRead,
	}
	for _, method := range []string{"totp", "duo", "okta", "pingid"} {
		paths["mfa/method/"+method+"/{name}"] = opRecord
	}
	for _, kind := range []string{"", "dr/", "performance/"} {
		for _, step := range []string{"demote", "disable", "enable", "secondary-token"} {
			paths["replication/"+kind+"primary/"+step] = opUpdate
		}
		for _, step := range []string{"disable", "promote", "update-primary"} {
			paths["replication/"+kind+"secondary/"+step] = opUpdate
		}
		paths["replication/"+kind+"secondary/enable"] = opUpdate
		if kind != "" {
			paths["replication/"+kind+"secondary/generate-public-key"] = opUpdate
		}
	}
	return paths
}

func enterpriseRoutes() []engines.Route {
	paths := enterprisePaths()
	var routes []engines.Route
	// Sorted, a literal comes before the variable that stands at the same place.
	for _, pattern := range slices.Sorted(maps.Keys(paths)) {
		var options []engines.Option
		for op, option := range map[operations]engines.Option{
			opList: engines.OnList(enterpriseOnly), opRead: engines.OnRead(enterpriseOnly),
			opUpdate: engines.OnUpdate(enterpriseOnly), opPatch: engines.OnPatch(enterpriseOnly),
			opDelete: engines.OnDelete(enterpriseOnly),
		} {
			if paths[pattern]&op != 0 {
				options = append(options, option)
			}
		}
		routes = append(routes, engines.Path(pattern, "A feature of Vault's enterprise edition.", options...))
	}
	return routes
}
