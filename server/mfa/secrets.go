package mfa

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

type generateParams struct {
	Method string `param:"method_id" help:"Id of the method."`
}

type adminParams struct {
	generateParams

	Entity string `param:"entity_id" help:"Id of the entity."`
}

func (s *Store) generate(ctx context.Context, req *engines.Request, p generateParams) (*engines.Response, error) {
	return s.makeSecret(ctx, p.Method, req.Caller.EntityID)
}

func (s *Store) adminGenerate(ctx context.Context, _ *engines.Request, p adminParams) (*engines.Response, error) {
	return s.makeSecret(ctx, p.Method, p.Entity)
}

// makeSecret makes an entity's secret and shows it, this once. One that is there already stays, unseen.
func (s *Store) makeSecret(ctx context.Context, id, entity string) (*engines.Response, error) {
	switch {
	case id == "":
		return nil, engines.Invalid("missing method ID")
	case entity == "":
		return nil, engines.Invalid("missing entityID")
	}
	m, err := s.knownMethod(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.checkEntity(ctx, entity); err != nil {
		return nil, err
	}
	return keylock.Write(ctx, s.secrets, secretKey(id, entity), func(ctx context.Context) (*engines.Response, error) {
		_, err = s.readSecret(ctx, id, entity)
		if err == nil {
			warning := fmt.Sprintf("Entity already has a secret for MFA method %q", m.Name)
			return &engines.Response{Warnings: []string{warning}}, nil
		}
		if !errors.Is(err, errNoSecret) {
			return nil, err
		}
		key, err := totp.Generate(totp.GenerateOpts{
			Issuer: m.Codes.Issuer, AccountName: entity, Period: uint(m.Codes.Period),
			SecretSize: uint(m.Codes.KeySize), Digits: otp.Digits(m.Codes.Digits),
			Algorithm: algorithm(m.Codes.Algorithm),
		})
		if err != nil {
			return nil, fmt.Errorf("mfa: make a secret: %w", err)
		}
		barcode, err := picture(key, m.QRSize)
		if err != nil {
			return nil, err
		}
		b, err := encode(secret{Key: key.Secret(), Codes: m.Codes})
		if err != nil {
			return nil, err
		}
		if err := s.putSecret(ctx, id, entity, b); err != nil {
			return nil, err
		}
		return &engines.Response{Data: map[string]any{"url": key.String(), "barcode": barcode}}, nil
	})
}

// putSecret stores a secret unless its method was deleted meanwhile.
func (s *Store) putSecret(ctx context.Context, id, entity string, b []byte) error {
	return s.change(ctx, func() ([]storage.Op, func(), error) {
		if s.methods[id] == nil {
			return nil, nil, errUnknownMethod(id)
		}
		return []storage.Op{storage.Put(secretKey(id, entity), b)}, func() {}, nil
	})
}

// picture is the QR code of a secret, a PNG in base64; "" for size 0.
func picture(key *otp.Key, size int) (string, error) {
	if size == 0 {
		return "", nil
	}
	image, err := key.Image(size, size)
	if err != nil {
		return "", engines.Failed("%s", engines.Numbered("failed to generate QR code image: "+err.Error()))
	}
	var b bytes.Buffer
	if err := png.Encode(&b, image); err != nil {
		return "", fmt.Errorf("mfa: draw a QR code: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func (s *Store) adminDestroy(ctx context.Context, _ *engines.Request, p adminParams) (*engines.Response, error) {
	switch {
	case p.Method == "":
		return nil, engines.Invalid("missing method ID")
	case p.Entity == "":
		return nil, engines.Invalid("missing entity ID")
	}
	if err := s.checkEntity(ctx, p.Entity); err != nil {
		return nil, err
	}
	if _, err := s.knownMethod(ctx, p.Method); err != nil {
		return nil, err
	}
	key := secretKey(p.Method, p.Entity)
	return keylock.Write(ctx, s.secrets, key, func(ctx context.Context) (*engines.Response, error) {
		if err := s.cfg.Storage.Apply(ctx, storage.Delete(key)); err != nil {
			return nil, fmt.Errorf("mfa: delete %s: %w", key, err)
		}
		return &engines.Response{}, nil
	})
}

func errUnknownMethod(id string) error {
	return engines.Invalid("configuration for method ID %q does not exist", id)
}

func (s *Store) knownMethod(ctx context.Context, id string) (*method, error) {
	m, err := s.method(ctx, id)
	if err == nil && m == nil {
		err = errUnknownMethod(id)
	}
	return m, err
}

func (s *Store) checkEntity(ctx context.Context, id string) error {
	known, err := s.cfg.Identities.HasEntity(ctx, id)
	if err == nil && !known {
		err = engines.Invalid("invalid entity ID")
	}
	return err
}
