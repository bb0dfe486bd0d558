package cert

import "context"

// RefreshDue does once what the mount does every minute.
func (e *engine) RefreshDue() { e.refreshDue(context.Background()) }
