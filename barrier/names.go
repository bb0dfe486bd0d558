package barrier

import (
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/daead/subtle"

	"coffer/barrier/secret"
	"coffer/storage"
)

const (
	// sivOverhead is what AES-SIV adds to a name, in bytes.
	sivOverhead = 16
	// maxCached is the longest encrypted path that is cached, in bytes. With the number of slots it
	// bounds the caches' memory.
	maxCached = 1 << 10
	// Slots of the caches; powers of two. Keys that are used once, such as those of short-lived tokens, fill them,
	// so they are no larger than what is read again and again on a small machine.
	folderSlots = 1 << 9
	keySlots    = 1 << 10
	nameSlots   = 1 << 12
)

// encoding makes a legal name of an encrypted one: its alphabet has no "/".
var encoding = base64.RawURLEncoding.Strict()

// nameCipher encrypts keys one component at a time with AES-SIV. The associated data of a component is the
// plaintext path of its folder, so that equal names in different folders differ and a name moved to
// another folder does not decrypt. It is safe for concurrent use.
type nameCipher struct {
	siv *subtle.AESSIV
	// folders maps "a/b/" to the encrypted prefix, keys maps "a/b/c" to the encrypted key, and names an
	// encrypted name to what it is called in its folder.
	folders cache[location]
	keys    cache[location]
	names   cache[listed]
}

// location is where a key or a folder is stored.
type location struct {
	plain, encrypted string
	// place is plain again, as associated data. It is not changed.
	place []byte
}

// listed is a name that was decrypted.
type listed struct {
	folder, encrypted, name string
}

func newNameCipher(key secret.Key) (*nameCipher, error) {
	// AESSIV keeps the bytes it is given. They are its own, so that zeroing the key while a call is under
	// way cannot make that call write under a name that nobody will find.
	siv, err := subtle.NewAESSIV(key.Clone().Reveal())
	if err != nil {
		return nil, fmt.Errorf("barrier: name cipher: %w", err)
	}
	return &nameCipher{
		siv:     siv,
		folders: newCache[location](folderSlots),
		keys:    newCache[location](keySlots),
		names:   newCache[listed](nameSlots),
	}, nil
}

// key returns where a legal key is stored, or storage.ErrInvalidKey when it is too long encrypted.
func (n *nameCipher) key(plain string) (location, error) {
	if l := n.keys.get(plain); l != nil && l.plain == plain {
		return *l, nil
	}
	if encryptedLen(plain) > storage.MaxKeySize {
		return location{}, storage.ErrInvalidKey
	}
	cut := strings.LastIndexByte(plain, '/') + 1
	folder, err := n.folder(plain[:cut])
	if err != nil {
		return location{}, err
	}
	path, err := n.appendName([]byte(folder.encrypted), plain[cut:], folder.place)
	if err != nil {
		return location{}, err
	}
	l := location{plain: strings.Clone(plain), encrypted: string(path), place: []byte(plain)}
	if len(l.encrypted) <= maxCached {
		n.keys.put(plain, &l)
	}
	return l, nil
}

// folder returns where a folder is stored: "" or a legal key followed by "/".
func (n *nameCipher) folder(plain string) (location, error) {
	if plain == "" {
		return location{encrypted: dataPrefix}, nil
	}
	if encryptedLen(plain) > storage.MaxKeySize {
		return location{}, storage.ErrInvalidKey
	}
	// Start at the deepest folder that is cached.
	done, path := 0, []byte(dataPrefix)
	for end := len(plain); end > 0; end = strings.LastIndexByte(plain[:end-1], '/') + 1 {
		l := n.folders.get(plain[:end])
		if l == nil || l.plain != plain[:end] {
			continue
		}
		if end == len(plain) {
			return *l, nil
		}
		done, path = end, append([]byte(nil), l.encrypted...)
		break
	}
	place := []byte(plain)
	for done < len(plain) {
		end := done + strings.IndexByte(plain[done:], '/')
		var err error
		if path, err = n.appendName(path, plain[done:end], place[:done]); err != nil {
			return location{}, err
		}
		path = append(path, '/')
		done = end + 1
		if len(path) <= maxCached {
			n.folders.put(plain[:done], &location{
				plain: strings.Clone(plain[:done]), encrypted: string(path), place: slices.Clone(place[:done]),
			})
		}
	}
	return location{plain: plain, encrypted: string(path), place: place}, nil
}

// appendName appends the encrypted form of a name in the folder with the given plaintext path.
func (n *nameCipher) appendName(path []byte, name string, folder []byte) ([]byte, error) {
	encrypted, err := n.siv.EncryptDeterministically([]byte(name), folder)
	if err != nil {
		return nil, fmt.Errorf("barrier: encrypt a name: %w", err)
	}
	return encoding.AppendEncode(path, encrypted), nil
}

// called is decrypt for a name that may be that of a folder, with "/" at the end.
func (n *nameCipher) called(encrypted string, folder location) (string, error) {
	encrypted, isFolder := strings.CutSuffix(encrypted, "/")
	name, err := n.decrypt(encrypted, folder)
	if err == nil && isFolder {
		name += "/"
	}
	return name, err
}

// decrypt returns the name that is stored as encrypted (without a trailing "/") in a folder, or ErrCorrupt.
func (n *nameCipher) decrypt(encrypted string, folder location) (string, error) {
	if l := n.names.get(encrypted); l != nil && l.encrypted == encrypted && l.folder == folder.plain {
		return l.name, nil
	}
	raw, err := encoding.DecodeString(encrypted)
	if err != nil || len(raw) <= sivOverhead {
		return "", fmt.Errorf("%w: a name in the folder %q", ErrCorrupt, folder.plain)
	}
	plain, err := n.siv.DecryptDeterministically(raw, folder.place)
	// The check of "/" cannot fail for a name that was encrypted here.
	if err != nil || slices.Contains(plain, '/') {
		return "", fmt.Errorf("%w: a name in the folder %q", ErrCorrupt, folder.plain)
	}
	name := string(plain)
	if len(encrypted)+len(folder.plain) <= maxCached {
		n.names.put(encrypted, &listed{folder: folder.plain, encrypted: encrypted, name: name})
	}
	return name, nil
}

// encryptedLen is the length of a key or folder once encrypted.
func encryptedLen(plain string) int {
	n := len(dataPrefix)
	for {
		i := strings.IndexByte(plain, '/')
		if i < 0 {
			break
		}
		n += encoding.EncodedLen(i+sivOverhead) + 1
		plain = plain[i+1:]
	}
	if plain != "" {
		n += encoding.EncodedLen(len(plain) + sivOverhead)
	}
	return n
}

// cache is a bounded map without locks: a fixed number of slots, each of which holds the entry that was
// put there last. The caller checks that what it got is what it asked for.
type cache[E any] struct {
	seed  maphash.Seed
	slots []atomic.Pointer[E]
}

func newCache[E any](slots int) cache[E] {
	return cache[E]{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[E], slots)}
}

func (c *cache[E]) slot(key string) *atomic.Pointer[E] {
	return &c.slots[maphash.String(c.seed, key)%uint64(len(c.slots))]
}

// get returns the entry in the slot of key, or nil.
func (c *cache[E]) get(key string) *E { return c.slot(key).Load() }

func (c *cache[E]) put(key string, entry *E) { c.slot(key).Store(entry) }
