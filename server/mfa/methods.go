package mfa

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"coffer/engines"
	"coffer/storage"
)

const (
	typeTOTP = "totp"
	// rootNamespace is the id of the only namespace there is.
	rootNamespace = "root"
	// defaultAttempts is how many codes may be tried within a period.
	defaultAttempts = 5
	// The bounds of a method.
	maxPeriod  = math.MaxInt32
	maxKeySize = 256
	maxQRSize  = 1024
	maxText    = 512
	// maxMethods bounds methods, and enforcements as well.
	maxMethods = 1000
)

// otherTypes are the types of methods that Vault has besides. They all ask a company's servers.
func otherTypes() []string { return []string{"duo", "okta", "pingid"} }

// Routes are the routes below identity/.
func (s *Store) Routes() []engines.Route {
	routes := []engines.Route{
		engines.Path("mfa/method", "List all methods.", engines.OnList(s.listMethods)),
		engines.Path("mfa/method/totp", "Make a TOTP method, or list them.",
			engines.OnList(s.listMethods), engines.OnUpdate(s.makeMethod)),
		engines.Path("mfa/method/totp/generate", "Make the caller's secret.", engines.OnUpdate(s.generate)),
		engines.Path("mfa/method/totp/admin-generate", "Make an entity's secret.", engines.OnUpdate(s.adminGenerate)),
		engines.Path("mfa/method/totp/admin-destroy", "Destroy an entity's secret.", engines.OnUpdate(s.adminDestroy)),
		engines.Path("mfa/method/totp/{method_id}", "Read, change or delete a TOTP method.",
			engines.OnRead(s.readMethod), engines.OnUpdate(s.changeMethod), engines.OnDelete(s.deleteMethod)),
		engines.Path("mfa/login-enforcement", "List the enforcements.", engines.OnList(s.listEnforcements)),
		engines.Path("mfa/login-enforcement/{name}", "Read, write or delete an enforcement.",
			engines.OnRead(s.readEnforcement), engines.OnUpdate(s.writeEnforcement), engines.OnDelete(s.deleteEnforcement)),
	}
	for _, typ := range otherTypes() {
		refuse := func(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
			return nil, engines.Invalid("MFA methods of type %s are not supported: only totp is", typ)
		}
		routes = append(routes,
			engines.Path("mfa/method/"+typ, "Methods of this type are not supported.", engines.AnyParameters(),
				engines.OnList(none), engines.OnUpdate(refuse)),
			engines.Path("mfa/method/"+typ+"/{method_id}", "Methods of this type are not supported.", engines.AnyParameters(),
				engines.OnRead(none), engines.OnUpdate(refuse), engines.OnDelete(refuse)))
	}
	// The first route that fits is taken: ids come last.
	return append(routes,
		engines.Path("mfa/method/{method_id}", "Read a method of any type.", engines.OnRead(s.readMethod)))
}

func none(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFound()
}

// methodID is what an id in a path may look like; anything else is no such path.
var methodID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

type idParams struct {
	ID string `path:"method_id" help:"Id of the method."`
}

func (m *method) data() map[string]any {
	return map[string]any{
		"id": m.ID, "name": m.Name, "type": typeTOTP, "namespace_id": rootNamespace, "namespace_path": "",
		"issuer": m.Codes.Issuer, "period": m.Codes.Period, "algorithm": m.Codes.Algorithm, "digits": m.Codes.Digits,
		"skew": m.Codes.Skew, "key_size": m.Codes.KeySize, "qr_size": m.QRSize, "max_validation_attempts": m.MaxAttempts,
	}
}

func (s *Store) listMethods(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	info := make(map[string]any)
	err := s.view(ctx, func() {
		for id, m := range s.methods {
			info[id] = m.data()
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}

func listWithInfo(info map[string]any) (*engines.Response, error) {
	resp, err := engines.ListResponse(slices.Sorted(maps.Keys(info)))
	if err == nil {
		resp.Data["key_info"] = info
	}
	return resp, err
}

func (s *Store) readMethod(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if !methodID.MatchString(p.ID) {
		return nil, engines.ErrUnsupportedPath
	}
	var m *method
	var lost bool
	if err := s.view(ctx, func() { m, lost = s.methods[p.ID], s.lostMethods[p.ID] }); err != nil {
		return nil, err
	}
	switch {
	case m == nil && lost:
		return nil, errLost
	case m == nil:
		return nil, engines.NotFound()
	}
	return &engines.Response{Data: m.data()}, nil
}

type methodParams struct {
	Name        string        `param:"method_name" help:"A name that clients may use instead of the id."`
	MaxAttempts int           `param:"max_validation_attempts" help:"How many codes may be tried within a period."`
	Issuer      string        `param:"issuer" help:"Whose account it is, as the telephone shows it."`
	Period      time.Duration `param:"period" default:"30" help:"How long a code is shown."`
	KeySize     int           `param:"key_size" default:"20" help:"Bytes of a secret."`
	QRSize      int           `param:"qr_size" default:"200" help:"Pixels of the QR code's side; 0 for no picture."`
	Algorithm   string        `param:"algorithm" default:"SHA1" help:"SHA1, SHA256 or SHA512."`
	Digits      int           `param:"digits" default:"6" help:"6 or 8."`
	Skew        int           `param:"skew" default:"1" help:"How many periods a code may be early or late: 0 or 1."`
	Enrol       bool          `param:"enable_self_enrollment" help:"Not in this edition."`
}

type changeParams struct {
	idParams
	methodParams
}

// method makes a method of the parameters. What was not given has its default, at a change as well.
func (p *methodParams) method(id string) (*method, error) {
	m := &method{ID: id, Name: p.Name, QRSize: p.QRSize, MaxAttempts: p.MaxAttempts, Codes: codes{
		Issuer: p.Issuer, Period: int(p.Period / time.Second), Algorithm: p.Algorithm, Digits: p.Digits, Skew: p.Skew,
		KeySize: p.KeySize,
	}}
	if m.MaxAttempts == 0 {
		m.MaxAttempts = defaultAttempts
	}
	var why string
	switch {
	case algorithm(p.Algorithm) < 0:
		why = "unrecognized algorithm"
	case p.Digits != 6 && p.Digits != 8:
		why = "digits can only be 6 or 8"
	case m.Codes.Period <= 0:
		why = "period must be greater than zero"
	case p.Skew != 0 && p.Skew != 1:
		why = "skew must be 0 or 1"
	case p.KeySize <= 0:
		why = "key_size must be greater than zero"
	case p.Issuer == "":
		why = "issuer must be set"
	case p.MaxAttempts < 0:
		why = "max_validation_attempts must be greater than zero"
	case p.Enrol:
		why = "enable_self_enrollment is an enterprise only feature"
	case p.KeySize > maxKeySize:
		why = fmt.Sprintf("key_size must be at most %d", maxKeySize)
	case p.QRSize < 0 || p.QRSize > maxQRSize:
		why = fmt.Sprintf("qr_size must be from 0 to %d", maxQRSize)
	case m.Codes.Period > maxPeriod:
		why = "period is too long"
	case len(p.Issuer) > maxText || len(p.Name) > maxText:
		why = fmt.Sprintf("issuer and method_name must have at most %d bytes", maxText)
	case strings.Contains(p.Issuer, ":"):
		why = "issuer must not contain a colon" // it ends the issuer in the URL
	default:
		return m, nil
	}
	return nil, engines.Invalid("%s", why)
}

func (s *Store) makeMethod(ctx context.Context, _ *engines.Request, p methodParams) (*engines.Response, error) {
	id, err := s.writeMethod(ctx, "", &p)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{"method_id": id}}, nil
}

func (s *Store) changeMethod(ctx context.Context, _ *engines.Request, p changeParams) (*engines.Response, error) {
	if !methodID.MatchString(p.ID) {
		return nil, engines.ErrUnsupportedPath
	}
	_, err := s.writeMethod(ctx, p.ID, &p.methodParams)
	return &engines.Response{}, err
}

// writeMethod changes the method with that id, or one with that name, or makes one.
func (s *Store) writeMethod(ctx context.Context, id string, p *methodParams) (string, error) {
	err := s.change(ctx, func() ([]storage.Op, func(), error) {
		if id != "" && s.methods[id] == nil {
			return nil, nil, nil // as in Vault: nothing happens
		}
		if named := s.methodNamed(p.Name); named != nil {
			if id != "" && named.ID != id {
				return nil, nil, engines.Failed("%s", engines.Numbered(
					"a login MFA method configuration with the method name "+p.Name+" already exists"))
			}
			id = named.ID
		}
		if id == "" {
			if len(s.methods) >= maxMethods {
				return nil, nil, engines.Invalid("there are %d methods already", maxMethods)
			}
			id = uuid.NewString()
		}
		m, err := p.method(id)
		if err != nil {
			return nil, nil, err
		}
		if old := s.methods[id]; old != nil && m.Name == "" {
			m.Name = old.Name
		}
		b, err := encode(m)
		return []storage.Op{storage.Put(methodFolder+id, b)}, func() { s.methods[id] = m }, err
	})
	return id, err
}

// methodNamed returns the method with a name, or nil. The caller holds changing or mu.
func (s *Store) methodNamed(name string) *method {
	if name == "" {
		return nil
	}
	for _, m := range s.methods {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// deleteMethod removes a method that no enforcement asks for, and all its secrets with it.
func (s *Store) deleteMethod(ctx context.Context, _ *engines.Request, p idParams) (*engines.Response, error) {
	if !methodID.MatchString(p.ID) {
		return nil, engines.ErrUnsupportedPath
	}
	err := s.change(ctx, func() ([]storage.Op, func(), error) {
		for _, e := range s.enforcements {
			if slices.Contains(e.Methods, p.ID) {
				return nil, nil, engines.Failed("%s", engines.Numbered(
					"methodID is still used by an enforcement configuration with ID: "+e.ID))
			}
		}
		switch {
		case s.methods[p.ID] != nil:
		case s.lostMethods[p.ID]:
			return nil, nil, errLost
		default:
			return nil, nil, nil
		}
		ops := []storage.Op{storage.Delete(methodFolder + p.ID)}
		entities, err := s.cfg.Storage.List(ctx, secretFolder+p.ID+"/", "", 0)
		if err != nil {
			return nil, nil, fmt.Errorf("mfa: list secrets of %s: %w", p.ID, err)
		}
		for _, entity := range entities {
			ops = append(ops, storage.Delete(secretKey(p.ID, entity)))
		}
		return ops, func() { delete(s.methods, p.ID) }, nil
	})
	return &engines.Response{}, err
}
