package token

import "context"

// MintRoot makes a root token like CreateRoot, but stores it only after deliver took its text without an
// error: there is never a root token that nobody was given. It returns the token's accessor.
func (s *Store) MintRoot(ctx context.Context, deliver func(text string) error) (accessor string, err error) {
	t := newServiceToken(true)
	if err := deliver(t.Reveal()); err != nil {
		return "", err
	}
	if _, err := s.createRoot(ctx, t, "auth/token/root", "root", true); err != nil {
		return "", err
	}
	return s.keys.accessorOf(t), nil
}
