//go:build corpus

package corpus

import _ "github.com/zricethezav/gitleaks/v8/cmd/generate/config/rules" // its sources make the samples
