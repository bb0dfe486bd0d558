package cert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/storage"
)

// errRecord is returned for bytes in storage that are not what was written there.
var errRecord = errors.New("damaged record")

func put(key string, value any) (storage.Op, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return storage.Op{}, fmt.Errorf("cert: %s: %w", key, err)
	}
	return storage.Put(key, raw), nil
}

// decode reads one object; its errors are errRecord.
func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() {
		return errRecord
	}
	return nil
}
